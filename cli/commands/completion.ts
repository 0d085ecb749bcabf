import { Argument, type Command } from 'commander'
import { completionsOf } from '../completion/candidates.js'
import { completionScripts, type Shell } from '../completion/scripts.js'

const shells = Object.keys(completionScripts) as Shell[]

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script for the shell; for bash: `source <(millrace completion bash)`')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .action((shell: Shell) => {
      process.stdout.write(completionScripts[shell])
    })
  // The completion scripts call it for each completion.
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: readonly string[]) => {
      for (const one of await completionsOf(program, words)) process.stdout.write(`${one}\n`)
    })
}
