#compdef psu-agent
# zsh completion of psu-agent.  eval "$(psu-agent completion zsh)", after compinit
# It asks psu-agent itself, which knows the units, channels and models that there are now.
_psu_agent() {
    local line kind value text
    local -a given values texts
    given=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
    while IFS=$'\t' read -r kind value text; do
        case $kind in
            value)
                values+=("$value")
                texts+=("$value${text:+  -- $text}")
                ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <(_PSU_AGENT_COMPLETE=zsh_complete _PSU_AGENT_WORDS="${(pj:\n:)given}" ${~${(Q)words[1]}} 2>/dev/null </dev/null)
    (( $#values )) && compadd -l -V psu-agent -d texts -a values
}
if [[ ${funcstack[1]-} == _psu-agent ]]; then  # as a file _psu-agent in $fpath
    _psu_agent "$@"
else
    compdef _psu_agent psu-agent
fi
