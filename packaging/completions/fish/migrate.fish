# fish completion of migrate; made by packaging/completion.py
complete -c migrate -f
complete -c migrate -l json -d 'print facts as one JSON object'
complete -c migrate -s h -d 'show this help and exit'
complete -c migrate -l help -d 'show this help and exit'
complete -c migrate -l version -d 'show programs version number and exit'
complete -c migrate -l stats -d 'print how long it was frozen, bytes sent, and total time'
complete -c migrate -a 'home balance (ls /run/openmosix/hpc/nodes 2>/dev/null) (__fish_complete_pids)'
