// Where nodes and processes are drawn: nodes on a circle, or in a grid when there are many; processes in their nodes.

const CIRCLE_AT_MOST = 9;
const TOP = 56;
const LINE = 27;
const GAP = 6;
const BOX_WIDTH = 172;
const BOX_HEIGHT = 92;
const OWN_HEIGHT = 160;

export function place(width, height, nodes, rows, own) {
  const isCircle = nodes.length <= CIRCLE_AT_MOST && width > 700;
  const ordered = isCircle ? nodes : [...nodes].sort((a, b) => (b.node === own) - (a.node === own));
  const boxes = isCircle ? circle(width, height, nodes.length) : grid(width, height, nodes.length);
  const placed = new Map(ordered.map((node, index) => [node.node, { ...boxes[index], hidden: 0 }]));
  const spots = new Map();
  for (const [node, box] of placed) fillBox(box, rows.filter((row) => (row.node || own) === node), spots);
  const bottom = Math.max(...boxes.map((box) => box.y + box.height), 0);
  return { nodes: placed, processes: spots, height: Math.max(height, Math.ceil(bottom) + 8) };
}

function circle(width, height, count) {
  const boxWidth = Math.min(300, Math.max(170, width / Math.max(3, count / 1.6) - 30));
  const boxHeight = Math.min(210, height / (count > 4 ? 3.4 : 2.4));
  const reachX = (width - boxWidth) / 2 - 14;
  const reachY = (height - boxHeight) / 2 - 14;
  return Array.from({ length: count }, (_, index) => {
    const angle = (index / count) * 2 * Math.PI - Math.PI / 2;
    return {
      x: width / 2 + Math.cos(angle) * reachX - boxWidth / 2,
      y: height / 2 + Math.sin(angle) * reachY - boxHeight / 2,
      width: boxWidth,
      height: boxHeight,
    };
  });
}

// The first box, this node's, takes the whole first line; the picture grows downwards as far as it must.
function grid(width, height, count) {
  const others = count - 1;
  const columns = Math.max(1, Math.min(others, Math.floor(width / BOX_WIDTH)));
  const lines = Math.ceil(others / columns);
  const first = Math.max(OWN_HEIGHT, lines ? height / (lines + 1) : height) - 10;
  const boxWidth = width / columns - 10;
  const boxHeight = Math.max(BOX_HEIGHT, lines ? (height - first - 20) / lines - 10 : 0);
  const rest = Array.from({ length: Math.max(0, others) }, (_, index) => ({
    x: (index % columns) * (boxWidth + 10) + 5,
    y: first + 15 + Math.floor(index / columns) * (boxHeight + 10),
    width: boxWidth,
    height: boxHeight,
  }));
  return count ? [{ x: 5, y: 5, width: width - 10, height: first }, ...rest] : [];
}

function fillBox(box, rows, spots) {
  let x = 8;
  let y = TOP;
  rows.forEach((row, index) => {
    const label = `${row.pid} ${row.name}`.slice(0, 18);
    const width = Math.min(box.width - 16, 14 + label.length * 7.3);
    if (x + width > box.width - 8 && x > 8) {
      x = 8;
      y += LINE;
    }
    if (y + 22 > box.height - (index < rows.length - 1 ? 20 : 4)) {
      box.hidden += 1;
      return;
    }
    spots.set(row.pid, { x: box.x + x, y: box.y + y, width, label, row });
    x += width + GAP;
  });
}
