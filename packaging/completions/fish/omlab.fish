# fish completion of omlab; made by packaging/completion.py
complete -c omlab -s h -d 'show this help message and exit'
complete -c omlab -l help -d 'show this help message and exit'
complete -c omlab -l name -d 'which cluster (default\: lab)'
