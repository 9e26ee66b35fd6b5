# fish completion of iojob; made by packaging/completion.py
complete -c iojob -s z -d 'the argument after the command becomes its argv(0)'
complete -c iojob -x -a '(__fish_complete_subcommand)'
