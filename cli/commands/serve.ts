import { type Command, InvalidArgumentError } from 'commander'
import type { Logger } from '../../broker/index.js'
import { isMillraceError, MillraceError } from '../../client/index.js'

interface ServeOptions {
  readonly data?: string
  readonly host?: string
  readonly port?: string
  readonly config?: string
  readonly set?: Readonly<Record<string, string>>
  readonly settings?: true
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('start a broker')
    .option('-d, --data <dir>', 'data folder (default: millrace-data)')
    .option('-H, --host <host>', 'address to listen on (default: 127.0.0.1)')
    .option('-p, --port <port>', 'port to listen on, 0 chooses a free port (default: 7420)')
    .option('-c, --config <file>', 'YAML file with settings')
    .option('--set <name=value>', 'any setting, like --set retentionMs=1d; repeatable', addSetting)
    .option('--settings', 'list all settings with their environment variables and defaults, and exit')
    .action(serve)
}

function addSetting(text: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected name=value')
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) }
}

async function serve(options: ServeOptions): Promise<void> {
  const { letHeapGrow, loadConfig, startBroker } = await import('../../broker/index.js')
  if (options.settings) return listSettings()
  const flags = flagsOf(options)
  let serviceLinks: readonly string[] = []
  const settings = await loadConfig({
    flags: Object.fromEntries(flags.map(({ name, value }) => [name, value])),
    flagName: (setting) => flags.find(({ name }) => name === setting)?.flag ?? setting,
    env: process.env,
    file: options.config ?? process.env.MILLRACE_CONFIG,
    onServiceLinks: (variables) => {
      serviceLinks = variables
    },
  }).catch((error: unknown) => {
    if (!isMillraceError(error, 'BAD_CONFIG')) throw error
    throw new MillraceError('BAD_OPTION', error.message, { cause: error })
  })
  letHeapGrow()
  const logger = await serveLogger(settings.logLevel)
  if (serviceLinks.length > 0) {
    const { port } = settings
    logger.warn(
      { variables: serviceLinks, port },
      'ignored environment variables that Kubernetes or Docker set for a service; set the port with --port',
    )
  }
  const broker = await startBroker({ ...settings, logger })
  const { host, port } = broker.address
  process.stderr.write(
    `millrace is ready on ${host.includes(':') ? `[${host}]` : host}:${port}, data in ${settings.engine === 'memory' ? 'memory' : settings.dir}\n`,
  )
  await stopSignal()
  await broker.close()
}

interface Flag {
  /** The name of the setting. */
  readonly name: string
  /** How the user wrote the setting, for messages. */
  readonly flag: string
  readonly value: string
}

/** The settings on the command line. @throws MillraceError BAD_OPTION for a setting that is given twice */
function flagsOf({ set = {}, data, host, port }: ServeOptions): readonly Flag[] {
  const flags: Flag[] = Object.entries(set).map(([name, value]) => ({ name, flag: `--set ${name}`, value }))
  for (const [name, flag, value] of [
    ['dir', '--data', data],
    ['host', '--host', host],
    ['port', '--port', port],
  ] as const) {
    if (value === undefined) continue
    if (Object.hasOwn(set, name))
      throw new MillraceError('BAD_OPTION', `give ${flag} or --set ${name}, not both`)
    flags.push({ name, flag, value })
  }
  return flags
}

async function listSettings(): Promise<void> {
  const { configSchema, envName } = await import('../../broker/index.js')
  for (const [name, setting] of Object.entries(configSchema)) {
    process.stdout.write(`${name}  (${envName(name)}, default ${String(setting.default)})\n`)
    process.stdout.write(`    ${setting.description}. Expected: ${setting.expected}\n`)
  }
}

/** Resolves at the first SIGTERM or SIGINT; the next one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false
    const stop = (): void => {
      if (stopping) process.exit(1)
      stopping = true
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
  })
}

/** JSON lines for machines; readable lines on a terminal. */
async function serveLogger(level: string): Promise<Logger> {
  const { pino } = await import('pino')
  if (process.stderr.isTTY !== true)
    return pino({ name: 'millrace', level }, pino.destination({ dest: 2, sync: true }))
  const { readableLines } = await import('../readable_log.js')
  return pino({ name: 'millrace', level }, readableLines(process.stderr))
}
