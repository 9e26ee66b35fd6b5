# fish completion of nomig; made by packaging/completion.py
complete -c nomig -s z -d 'the argument after the command becomes its argv(0)'
complete -c nomig -x -a '(__fish_complete_subcommand)'
