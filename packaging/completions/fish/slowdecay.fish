# fish completion of slowdecay; made by packaging/completion.py
complete -c slowdecay -s z -d 'the argument after the command becomes its argv(0)'
complete -c slowdecay -x -a '(__fish_complete_subcommand)'
