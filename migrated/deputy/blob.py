"""The deputy's code as bytes, and the offsets of its three entries.

Generated from blob.c (gcc 12, -Os, see `BUILD`); a test builds it again and compares where gcc is there.
"""

from __future__ import annotations

import base64

BUILD = (
    "gcc -Os -fPIC -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mno-sse"
    " -ffreestanding -nostdlib -static -Wl,-T,blob.ld -Wl,--build-id=none"
)
DEPUTY_OFFSET = 0x0
PARK_OFFSET = 0x1C9
SITE_OFFSET = 0x1E7

CODE = base64.b85decode(
    "L02)rK~_OkK~z;piS<)RiTg-_?8pEB07!{MBq&IUL?kdsjYK3kNQp!w2uO`YBuGKL0ssI2NrTP*LB4<h002md1SCj}L?j?Vz"
    "bpU%07!{MBoK*QBsfTmd?W}(G15gbz=>=mKt(ahxCa0L08EMI$3!GN0RR91Oo{5pL?lE30000F1@=TFMgesR_CzE;0d&9XJV"
    "=W)Bt<dOMKQodG08E&NQv)EiSiExNQuHoJ%9iJ0Cm+!i!>xbx<Ehx07WstMKQ@tiTFr~-wy@r#7K*DBoIY0(nT@AMKQ@Sz(|"
    "STx(EOO01pL7gZKy!g<b#u|ATxaAOUp|G4@Dfd?X~e=KufzNQv?f1%rGfAOdw@i$o+O|Hy;*KM#in|Ns9;jdUa^MKRJvF~CJ"
    "J$-e{u001%4xS#+401pMYod5s;NQu@D1&e$nB<Pj^004_bBqTA?MKRJvF~CJJ$w-OTjktgS006k>0000;WB(5YgM1_)19cUP"
    "d?X}|NB@KPKM#kV{{R2zSO5S3gM1_)1P_Id{{R2RL?lQ-NR4zPNJTNgMKQ@ix<Ehx0Jtmw006oH0000;iQf+e>16)@|5LjU0"
    "RR9o(nT@SMKQodG08}Y*hq=jNQu@D1?%V!1@sRKRk{cO001$-y#W9K08>bb(MV(8LAnS4002cXz(q01NR50X;7E;hB;fO_NQ"
    "vl3iQh<x%8g6^NYmg*i9{sWxD5aR01pL4G19mv0000;iPuPp)(-_piN{EZ-nc#h000jKyAA*V07#8=B-lZ^2mk;8NQv)AiP#"
    "SXNQu};iPsMWTV2B"
)
