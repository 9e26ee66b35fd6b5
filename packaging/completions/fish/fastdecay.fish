# fish completion of fastdecay; made by packaging/completion.py
complete -c fastdecay -s z -d 'the argument after the command becomes its argv(0)'
complete -c fastdecay -x -a '(__fish_complete_subcommand)'
