import type { Argument, Command, Option } from 'commander'
import { connect } from '../../client/index.js'
import { chooseServer, readContexts } from '../contexts.js'
import { addressesOf } from '../options.js'

/** The user notices a completion that takes longer. */
const brokerTimeoutMs = 1_000

/** The meaning of the words before the last one. */
interface Parsed {
  readonly command: Command
  /** Options with their values. */
  readonly values: ReadonlyMap<Option, string>
  /** Arguments given so far. */
  readonly args: readonly string[]
  /** The option whose value is incomplete. */
  readonly open: Option | undefined
}

/**
 * Candidates for the last word, sorted: subcommands, flags, choices, and names from the broker or the contexts. Empty
 * if the shell should complete file names, or if no broker answers.
 */
export async function completionsOf(program: Command, words: readonly string[]): Promise<string[]> {
  const last = words.at(-1) ?? ''
  const parsed = parse(program, words.slice(0, -1))
  const found = await candidatesOf(parsed, last)
  return [...new Set(found)].filter((one) => one.startsWith(last)).sort()
}

function parse(program: Command, words: readonly string[]): Parsed {
  let command = program
  const values = new Map<Option, string>()
  const args: string[] = []
  let open: Option | undefined
  for (const word of words) {
    if (open !== undefined) {
      values.set(open, word)
      open = undefined
    } else if (word.startsWith('-')) {
      const option = command.options.find((one) => one.long === word || one.short === word)
      if (option !== undefined && (option.required || option.optional)) open = option
    } else {
      const sub = args.length === 0 ? visible(command).find((one) => one.name() === word) : undefined
      if (sub === undefined) args.push(word)
      else command = sub
    }
  }
  return { command, values, args, open }
}

async function candidatesOf(parsed: Parsed, last: string): Promise<readonly string[]> {
  const { command, args, open } = parsed
  if (open !== undefined) return open.argChoices ?? namesFor(open.name(), parsed)
  if (last.startsWith('-')) {
    const flags = command.options.filter((one) => !one.hidden).map((one) => one.long ?? one.short ?? '')
    return [...flags, '--help']
  }
  const subs = visible(command)
  if (subs.length > 0) return args.length === 0 ? [...subs.map((one) => one.name()), 'help'] : []
  const argument = argumentAt(command, args.length)
  if (argument === undefined) return []
  return argument.argChoices ?? namesFor(argument.name(), parsed)
}

function visible(command: Command): readonly Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((one) => one.name() !== 'help')
}

function argumentAt({ registeredArguments }: Command, index: number): Argument | undefined {
  const last = registeredArguments.at(-1)
  return registeredArguments[index] ?? (last?.variadic === true ? last : undefined)
}

/** Names for an argument or option. */
async function namesFor(kind: string, parsed: Parsed): Promise<readonly string[]> {
  const { command } = parsed
  const family = command.parent?.name()
  if (kind === 'context' || (kind === 'name' && family === 'context'))
    return Object.keys((await readContexts()).servers)
  if (kind !== 'topic' && kind !== 'group' && !(kind === 'name' && family === 'schedule')) return []
  const servers = addressesOf(await serverFor(parsed))
  const signal = AbortSignal.timeout(brokerTimeoutMs)
  await using client = await connect({ servers, clientName: 'millrace-completion', signal })
  const options = { signal }
  if (kind === 'topic') return (await client.topics.list(options)).map(({ name }) => name)
  if (kind === 'group' && family === 'queue')
    return (await client.queues.list(options)).map(({ group }) => group)
  if (kind === 'group') return (await client.groups.list(options)).map(({ group }) => group)
  const names: string[] = []
  for await (const { name } of client.schedules.list()) names.push(name)
  return names
}

/** The server that the command would use. */
async function serverFor({ command, values }: Parsed): Promise<string> {
  for (const [option, value] of values)
    if (option.name() === 'server' || option.name() === 'context')
      command.setOptionValueWithSource(option.attributeName(), value, 'cli')
  if (process.env.MILLRACE_SERVER !== undefined && command.getOptionValueSource('server') === 'default')
    command.setOptionValueWithSource('server', process.env.MILLRACE_SERVER, 'env')
  await chooseServer(command)
  const { server = '' }: { readonly server?: string } = command.opts()
  return server
}
