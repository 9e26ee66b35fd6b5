# fish completion of runon; made by packaging/completion.py
complete -c runon -s z -d 'the argument after the command becomes its argv(0)'
complete -c runon -x -a '(__fish_complete_subcommand)'
