# fish completion of mps; made by packaging/completion.py
complete -c mps -l ominfo -d 'node, migrations, lock and reasons'
complete -c mps -l ominfol -d 'the same, long'
complete -c mps -l json -d 'one JSON object'
complete -c mps -l sort -d 'order'
complete -c mps -l help -d 'help'
complete -c mps -l version -d 'version'
