# bash completion of psu-agent.  eval "$(psu-agent completion bash)"
# It asks psu-agent itself, which knows the units, channels and models that there are now.
_psu_agent() {
    local kind value program="${1/#\~/$HOME}"
    COMPREPLY=()
    while IFS=$'\t' read -r kind value; do
        case $kind in
            value) COMPREPLY+=("$value") ;;
            space) compopt +o nospace 2>/dev/null ;;
            file) compopt +o nospace -o default 2>/dev/null ;;
            dir) compopt +o nospace -o dirnames 2>/dev/null ;;
        esac
    done < <(_PSU_AGENT_COMPLETE=bash_complete _PSU_AGENT_LINE="${COMP_LINE:0:COMP_POINT}" \
        _PSU_AGENT_WORD="${COMP_WORDS[COMP_CWORD]}" "$program" 2>/dev/null </dev/null)
}
complete -o nospace -F _psu_agent psu-agent
