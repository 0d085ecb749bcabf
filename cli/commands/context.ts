import type { Command } from 'commander'
import { checkContextName, readContexts, serverOfContext, writeContexts } from '../contexts.js'
import { addressesOf } from '../options.js'
import { printJson, printTable } from '../output.js'

interface ContextOptions {
  readonly use?: true
  readonly json?: true
}

export function addContext(program: Command): void {
  const context = program
    .command('context')
    .description('save names for brokers, in $XDG_CONFIG_HOME/millrace/contexts.json')
  context
    .command('add <name> <server>')
    .description('add a context, or change its server (host:port, several with commas)')
    .option('--use', 'make it the current context')
    .action(async (name: string, server: string, { use }: ContextOptions) => {
      checkContextName(name)
      addressesOf(server)
      const { current, servers } = await readContexts()
      await writeContexts({ current: use ? name : current, servers: { ...servers, [name]: server } })
      process.stdout.write(`${use ? 'added, and now used:' : 'added'} context "${name}" for ${server}\n`)
    })
  context
    .command('use <name>')
    .description('use this context for all commands without --server or --context')
    .action(async (name: string) => {
      const contexts = await readContexts()
      const server = serverOfContext(contexts, name)
      await writeContexts({ ...contexts, current: name })
      process.stdout.write(`using context "${name}" for ${server}\n`)
    })
  context
    .command('list')
    .description('list the contexts; * marks the current one')
    .option('--json', 'print JSON')
    .action(async ({ json }: ContextOptions) => {
      const { current, servers } = await readContexts()
      const contexts = Object.entries(servers).map(([name, server]) => ({
        name,
        server,
        used: name === current,
      }))
      if (json) return printJson(contexts)
      printTable([
        ['', 'context', 'server'],
        ...contexts.map(({ name, server, used }) => [used ? '*' : ' ', name, server]),
      ])
    })
  context
    .command('remove <name>')
    .description('remove a context')
    .action(async (name: string) => {
      const contexts = await readContexts()
      serverOfContext(contexts, name)
      const servers = Object.fromEntries(Object.entries(contexts.servers).filter(([one]) => one !== name))
      await writeContexts({ current: contexts.current === name ? undefined : contexts.current, servers })
      process.stdout.write(`removed context "${name}"\n`)
    })
}
