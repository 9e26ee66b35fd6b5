# fish completion of nodecay; made by packaging/completion.py
complete -c nodecay -s z -d 'the argument after the command becomes its argv(0)'
complete -c nodecay -x -a '(__fish_complete_subcommand)'
