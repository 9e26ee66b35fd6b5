# fish completion of runhome; made by packaging/completion.py
complete -c runhome -s z -d 'the argument after the command becomes its argv(0)'
complete -c runhome -x -a '(__fish_complete_subcommand)'
