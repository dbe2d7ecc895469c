# fish completion of psu-agent.  psu-agent completion fish | source
# It asks psu-agent itself, which knows the units, channels and models that there are now.
function __psu_agent_complete
    set -l given (commandline -opc)
    set -l current (commandline -ct)
    set -l words (string join -- \n $given[2..-1] "$current" | string collect -N)
    set -l tab (printf '\t')
    for line in (_PSU_AGENT_COMPLETE=fish_complete _PSU_AGENT_WORDS="$words" $given[1] 2>/dev/null </dev/null)
        set -l fields (string split -m 1 -- $tab $line)
        switch $fields[1]
            case value
                printf '%s\n' $fields[2]
            case file
                __fish_complete_path "$current"
            case dir
                __fish_complete_directories "$current"
        end
    end
end
complete -c psu-agent -e
complete -c psu-agent -f -a '(__psu_agent_complete)'
