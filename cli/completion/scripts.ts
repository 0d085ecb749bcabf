export type Shell = 'bash' | 'zsh' | 'fish'

/**
 * The scripts ask the program itself for candidates, so that the candidates match its version and include the topics
 * and groups of the broker. Without candidates the shell completes file names.
 */
export const completionScripts: Readonly<Record<Shell, string>> = {
  bash: `# bash completion of millrace: source <(millrace completion bash)
_millrace() {
  local IFS=$'\\n'
  COMPREPLY=($(millrace __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _millrace millrace
`,
  zsh: `#compdef millrace
# zsh completion of millrace: source <(millrace completion zsh)
_millrace() {
  local -a candidates
  candidates=("\${(@f)$(millrace __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${candidates[1]}" ]]; then
    compadd -- "\${candidates[@]}"
  else
    _files
  fi
}
compdef _millrace millrace
`,
  fish: `# fish completion of millrace: millrace completion fish | source
function __millrace_complete
  set -l words (commandline -opc) (commandline -ct)
  millrace __complete -- $words[2..-1] 2>/dev/null
end
complete -c millrace -a '(__millrace_complete)'
`,
}
