import { readFile } from 'node:fs/promises'
import { parse as parseYaml } from 'yaml'
import { bytesText, limits, MillraceError, suggestion } from '../protocol/index.js'
import { bytes, duration, integer, oneOf, parseSetting, type Setting, text } from './config_values.js'
import { groupSettingsDefault as groups } from './groups/index.js'

const KiB = 1024
const MiB = 1024 * KiB

/** Every setting of a broker: one schema for options, flags, environment and file. */
export const configSchema = {
  dir: text('millrace-data', 'Data folder'),
  engine: oneOf(['level', 'memory'], 'level', '"level" keeps data on disk, "memory" loses it on exit'),
  host: text('127.0.0.1', 'Address to listen on'),
  port: integer(7420, 'Port to listen on; 0 chooses a free port', { max: 65_535 }),
  advertisedHost: text(
    'auto',
    'Host name that the broker tells clients to connect to; "auto": the address that the client used',
  ),
  brokerId: integer(0, 'Id of this broker', { max: 0xffff }),
  logLevel: oneOf(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Lowest level of the log messages that the broker writes',
  ),

  connectionsMax: integer(10_000, 'Maximum number of connections', { min: 1 }),
  inFlightRequestsMax: integer(
    limits.inFlightRequestsMax,
    'Maximum number of unanswered requests of one connection',
    {
      min: 1,
      max: limits.inFlightRequestsMax,
    },
  ),
  frameBytesMax: bytes(limits.frameBytesMax, 'Maximum size of a frame', { min: 64 * KiB, max: 64 * MiB }),
  connectionInboundBytesMax: bytes(32 * MiB, 'Memory for unanswered requests of one connection', {
    min: 64 * KiB,
  }),
  inboundBytesMax: bytes(128 * MiB, 'Memory for unanswered requests of all connections', {
    min: 64 * KiB,
  }),
  connectionOutboundBytesMax: bytes(8 * MiB, 'Memory for replies that one client has not read yet', {
    min: 64 * KiB,
  }),
  outboundBytesMax: bytes(128 * MiB, 'Memory for replies that all clients have not read yet', {
    min: 64 * KiB,
  }),
  helloTimeoutMs: duration(
    limits.helloTimeoutMs,
    'Time within which a new connection must send its hello frame',
    { min: 100 },
  ),
  receiveStallTimeoutMs: duration(
    30_000,
    'Time after which the broker closes a connection that stopped in the middle of a frame',
    {
      min: 1_000,
    },
  ),
  sendStallTimeoutMs: duration(
    60_000,
    'Time after which the broker closes a connection that does not read its replies; transfer time at 64 KB/s is added',
    {
      min: 1_000,
    },
  ),
  overloadTimeoutMs: duration(
    5_000,
    'Time over inboundBytesMax or outboundBytesMax after which the broker closes stalled connections',
    { min: 100 },
  ),
  drainTimeoutMs: duration(10_000, 'Maximum time of a graceful shutdown', { max: 3_600_000 }),

  partitionsPerBrokerMax: integer(
    limits.partitionsPerBrokerMax,
    'Maximum number of partitions of all topics',
    {
      min: 1,
      max: limits.partitionsPerBrokerMax,
    },
  ),
  partitionsDefault: integer(1, 'Number of partitions of a new topic, unless the request gives one', {
    min: 1,
    max: limits.partitionsPerTopicMax,
  }),
  batchBytesMax: bytes(limits.batchBytesMax, 'Maximum size of a record batch', {
    min: 1 * KiB,
    max: 8 * MiB,
  }),
  retentionMs: duration(7 * 86_400_000, 'Age at which the broker deletes the records of a topic', {
    unbounded: true,
  }),
  retentionBytes: bytes(-1, 'Size over which the broker deletes the oldest records of a partition', {
    unbounded: true,
  }),
  retentionIntervalMs: duration(10_000, 'Interval between retention runs', { min: 10, max: 3_600_000 }),
  timestampAheadMsMax: duration(
    3_600_000,
    'Maximum time that a record timestamp may be ahead of the clock of the broker',
  ),
  producersPerPartitionMax: integer(1_000, 'Maximum number of idempotent producers of one partition', {
    min: 1,
  }),
  producersMax: integer(
    200_000,
    'Maximum number of idempotent producers of all partitions, about 600 bytes of memory each',
    {
      min: 1,
    },
  ),
  producerIdleMs: duration(7 * 86_400_000, 'Time after which the broker forgets an idle producer', {
    min: 60_000,
  }),
  dedupeWindowMs: duration(
    120_000,
    'Time during which the broker drops messages with an id that it has seen',
    {
      max: limits.dedupeWindowMsMax,
    },
  ),
  messageIdsMax: integer(
    1_000_000,
    'Maximum number of message ids of all topics, about 200 bytes of memory each',
    {
      min: 1,
    },
  ),
  delayedMessagesMax: integer(
    20_000_000,
    'Maximum number of delayed messages of all topics, stored on disk',
    { min: 1 },
  ),
  schedulesMax: integer(10_000, 'Maximum number of schedules', { min: 1 }),

  groupsMax: integer(groups.groupsMax, 'Maximum number of stream groups', { min: 1 }),
  groupMembersMax: integer(groups.groupMembersMax, 'Maximum number of members of one stream group', {
    min: 1,
  }),
  groupOffsetsBytesMax: bytes(groups.groupOffsetsBytesMax, 'Memory for committed offsets', { min: 64 * KiB }),
  groupInitialDelayMs: duration(
    groups.groupInitialDelayMs,
    'Time that the first member of a group waits for other members',
    {
      max: 60_000,
    },
  ),
  groupRebalanceDelayMs: duration(
    groups.groupRebalanceDelayMs,
    'Time during which the broker collects joins and leaves before it rebalances a group',
    {
      max: 60_000,
    },
  ),
  groupOffsetsRetentionMs: duration(
    groups.groupOffsetsRetentionMs,
    'Time after which the broker forgets the offsets of a group that has no members',
    { unbounded: true },
  ),

  diskFreeBytesMin: bytes(256 * MiB, 'Free disk space below which the broker rejects new messages'),
  tailCacheBytes: bytes(16 * MiB, 'Memory for the newest log data', { min: 1 * MiB }),
  journalSegmentBytes: bytes(1024 * MiB, 'Size at which the journal continues in a new database', {
    min: 4 * MiB,
  }),
} as const satisfies Record<string, Setting<unknown>>

type Schema = typeof configSchema
type SettingName = keyof Schema

/** The settings of a broker, all present. */
export type BrokerSettings = {
  readonly [K in SettingName]: Schema[K] extends Setting<infer T> ? T : never
}

export interface ConfigSources {
  /** Values of command-line flags by setting name; undefined ones are absent. */
  readonly flags?: Readonly<Record<string, unknown>>
  /** The name of a setting's flag in error messages, such as `--port`; `port in flags` by default. */
  readonly flagName?: (setting: string) => string
  /** Environment variables: MILLRACE_ and the name in capitals, such as MILLRACE_RETENTION_MS. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Path of a YAML file with settings by name. */
  readonly file?: string | undefined
  /** Receives the variables in `env` that Kubernetes or Docker set for a service. They are not settings. */
  readonly onServiceLinks?: (variables: readonly string[]) => void
}

const envPrefix = 'MILLRACE_'
/** Variables of the command line and of tests. */
const foreignEnv = /^MILLRACE_(SERVER|CONTEXT|CONFIG|BENCH_.*|TEST_.*)$/
/**
 * Kubernetes and Docker set these variables for a service whose name starts with "millrace". The value distinguishes
 * the setting MILLRACE_PORT from the variable of a service called "millrace".
 */
const serviceLinkNames =
  /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/
const serviceLinkPort = /^(tcp|udp|sctp):\/\//

const names = Object.keys(configSchema) as SettingName[]
const byEnvName: ReadonlyMap<string, SettingName> = new Map(names.map((name) => [envName(name), name]))

/** The environment variable of a setting. */
export function envName(name: string): string {
  return envPrefix + name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/**
 * Reads settings in order of precedence: flags, environment, file, defaults.
 * @throws MillraceError BAD_CONFIG that names the setting, its source, and the most similar name for an unknown one
 */
export async function loadConfig({
  flags = {},
  flagName,
  env = {},
  file,
  onServiceLinks,
}: ConfigSources): Promise<BrokerSettings> {
  const fromFile = file === undefined ? {} : readSettings(await readConfigFile(file), file)
  const fromEnv = readEnv(env, onServiceLinks)
  const fromFlags = readSettings(flags, 'flags', flagName)
  return checkSettings({ ...fromFile, ...fromEnv, ...fromFlags })
}

/**
 * Reads settings from options, with defaults.
 * @throws MillraceError BAD_CONFIG
 */
export function settingsOf(options: Readonly<Record<string, unknown>>): BrokerSettings {
  return checkSettings(readSettings(options, 'options'))
}

function checkSettings(given: Partial<BrokerSettings>): BrokerSettings {
  const defaults = Object.fromEntries(names.map((name) => [name, configSchema[name].default]))
  const settings = { ...defaults, ...given } as BrokerSettings
  // A reply with a batch of the maximum size must fit into a frame with its body, and so must a publish.
  const batchBytesMax = settings.frameBytesMax - 32 * KiB
  if (settings.batchBytesMax > batchBytesMax) {
    throw new MillraceError(
      'BAD_CONFIG',
      `batchBytesMax is ${bytesText(settings.batchBytesMax)}, expected at most ${bytesText(batchBytesMax)} with a frameBytesMax of ${bytesText(settings.frameBytesMax)}`,
    )
  }
  return settings
}

function readSettings(
  source: Readonly<Record<string, unknown>>,
  where: string,
  nameOf = (name: string) => `${name} in ${where}`,
): Partial<BrokerSettings> {
  const read: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(source)) {
    if (value === undefined) continue
    const setting: Setting<unknown> | undefined = Object.hasOwn(configSchema, name)
      ? configSchema[name as SettingName]
      : undefined
    if (setting === undefined) {
      throw new MillraceError('BAD_CONFIG', `unknown setting "${name}" in ${where}${suggestion(name, names)}`)
    }
    read[name] = parseSetting(setting, value, nameOf(name))
  }
  return read as Partial<BrokerSettings>
}

function readEnv(
  env: Readonly<Record<string, string | undefined>>,
  onServiceLinks?: (variables: readonly string[]) => void,
): Partial<BrokerSettings> {
  const read: Record<string, unknown> = {}
  const serviceLinks: string[] = []
  for (const [variable, value] of Object.entries(env)) {
    if (value === undefined || !variable.startsWith(envPrefix) || foreignEnv.test(variable)) continue
    if (isServiceLink(variable, value)) {
      serviceLinks.push(variable)
      continue
    }
    const name = byEnvName.get(variable)
    if (name === undefined) {
      throw new MillraceError(
        'BAD_CONFIG',
        `unknown environment variable ${variable}${suggestion(variable, byEnvName.keys())}`,
      )
    }
    read[name] = parseSetting<unknown>(configSchema[name], value, variable)
  }
  if (serviceLinks.length > 0) onServiceLinks?.(serviceLinks)
  return read as Partial<BrokerSettings>
}

function isServiceLink(variable: string, value: string): boolean {
  return serviceLinkNames.test(variable) || (variable.endsWith('_PORT') && serviceLinkPort.test(value))
}

async function readConfigFile(file: string): Promise<Readonly<Record<string, unknown>>> {
  let value: unknown
  try {
    value = parseYaml(await readFile(file, 'utf8'))
  } catch (cause) {
    const reason =
      cause instanceof Error ? (cause.message.split('\n')[0] ?? '').replace(/:$/, '') : String(cause)
    throw new MillraceError('BAD_CONFIG', `can't read the configuration file ${file}: ${reason}`, { cause })
  }
  if (value === null || value === undefined) return {}
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new MillraceError('BAD_CONFIG', `${file}: expected a map of settings`)
  }
  return value as Record<string, unknown>
}
