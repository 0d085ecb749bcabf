import { Command, CommanderError } from 'commander'
import { clientVersion } from '../client/index.js'
import { addBackup } from './commands/backup.js'
import { addBench } from './commands/bench.js'
import { addCompletion } from './commands/completion.js'
import { addConsume } from './commands/consume.js'
import { addContext } from './commands/context.js'
import { addExport } from './commands/export.js'
import { addGroup } from './commands/group.js'
import { addImport } from './commands/import.js'
import { addLater } from './commands/later.js'
import { addPublish } from './commands/publish.js'
import { addQueue } from './commands/queue.js'
import { addRepair } from './commands/repair.js'
import { addRequest } from './commands/request.js'
import { addServe } from './commands/serve.js'
import { addStatus } from './commands/status.js'
import { addTop } from './commands/top.js'
import { addTopic } from './commands/topic.js'
import { chooseServer } from './contexts.js'
import { errorText, exitCodeOf, exitCodes } from './errors.js'
import { watchOutput } from './output.js'

/** The commands of the program. */
export function createProgram(): Command {
  const program = new Command('millrace')
    .description('A message broker: a durable partitioned log in one process')
    .version(clientVersion, '-V, --version', 'print the version')
    .exitOverride()
    .showHelpAfterError('(run with --help for usage)')
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'millrace: ')) })
  for (const add of [
    addServe,
    addStatus,
    addPublish,
    addConsume,
    addExport,
    addImport,
    addTopic,
    addGroup,
    addQueue,
    addLater,
    addRepair,
    addBackup,
    addRequest,
    addTop,
    addBench,
    addContext,
    addCompletion,
  ])
    add(program)
  inherit(program)
  program.hook('preAction', (_, command) => chooseServer(command))
  return program
}

/** Runs the command line and returns its exit code; results go to stdout, everything else to stderr. */
export async function run(argv: readonly string[]): Promise<number> {
  watchOutput()
  const program = createProgram()
  try {
    await program.parseAsync(argv as string[])
    return Number(process.exitCode ?? exitCodes.ok)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    if (error instanceof Error && error.name === 'AbortError') return exitCodes.interrupted
    process.stderr.write(`millrace: ${errorText(error, serverOf(program))}\n`)
    return exitCodeOf(error)
  }
}

/** Subcommands created with `command()` later do not inherit these settings of their parent. */
function inherit(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent)
    inherit(command)
  }
}

function serverOf(program: Command): string | undefined {
  const find = (command: Command): string | undefined => {
    const server: unknown = command.opts().server
    if (typeof server === 'string' && command.getOptionValueSource('server') !== 'default') return server
    for (const child of command.commands) {
      const found = find(child)
      if (found !== undefined) return found
    }
    return undefined
  }
  return find(program)
}
