# fish completion of showmap; made by packaging/completion.py
complete -c showmap -l json -d 'print facts as one JSON object'
complete -c showmap -s h -d 'show this help and exit'
complete -c showmap -l help -d 'show this help and exit'
complete -c showmap -l version -d 'show programs version number and exit'
complete -c showmap -s a -d 'list nodes that are down or left, too'
complete -c showmap -l all -d 'list nodes that are down or left, too'
