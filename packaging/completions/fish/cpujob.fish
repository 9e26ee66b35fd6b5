# fish completion of cpujob; made by packaging/completion.py
complete -c cpujob -s z -d 'the argument after the command becomes its argv(0)'
complete -c cpujob -x -a '(__fish_complete_subcommand)'
