import { stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { EngineFactory } from '../storage/index.js'
import { Admission } from './admission.js'
import { Backups } from './backups.js'
import type { BrokerSettings } from './config.js'
import { settingsOf } from './config.js'
import type { BrokerContext } from './context.js'
import { dispatch } from './dispatch.js'
import { groupsOf } from './group_host.js'
import type { Groups } from './groups/index.js'
import { Later } from './later/index.js'
import { defaultLogger, type Logger } from './log.js'
import { LongPolls } from './long_polls.js'
import { Metrics } from './metrics.js'
import { connectionsAllowed, descriptorsMaxOfProcess } from './net/descriptors.js'
import { Server } from './net/server.js'
import { offsetForTime } from './partition/offset_for_time.js'
import { ProducersLimit } from './partition/producers_limit.js'
import { queuesOf } from './queue_host.js'
import type { Queues } from './queues/index.js'
import { Replies } from './replies/replies.js'
import { Retention } from './retention.js'
import { Shard } from './shard.js'
import { type BrokerStatus, brokerStatus } from './status.js'
import { TurnBudget } from './turn_budget.js'
import { WallClock } from './wall_clock.js'

/** Any of the settings (see `configSchema`); the others have their defaults. */
export type BrokerOptions = Partial<BrokerSettings> & {
  /** Logger of the broker; default: JSON lines on stderr. */
  readonly logger?: Logger | undefined
  /** Databases to use instead of those of `engine`. */
  readonly engines?: EngineFactory | undefined
}

/** Takes some milliseconds; a turn of the event loop itself takes microseconds. */
const fetchBytesPerTurnMax = 8 * 1024 * 1024

/** A running broker. */
export interface Broker {
  /** The address that it listens on. */
  readonly address: { readonly host: string; readonly port: number }
  readonly settings: BrokerSettings
  /** The reply of the command `status`. */
  status(): Promise<BrokerStatus>
  /**
   * Stops gracefully: accepts no more connections and publishes, answers waiting requests, lets requests finish and
   * their replies leave, and closes the log. Takes at most `drainTimeoutMs` plus the time of the last commit.
   */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Starts a broker inside this process. It installs no signal handlers and never ends the process.
 *
 * ```ts
 * await using broker = await startBroker({ dir: './data', port: 0 })
 * const client = await connect(`localhost:${broker.address.port}`)
 * ```
 *
 * @throws MillraceError BAD_CONFIG, FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED, CORRUPT; the error of the system,
 * such as EADDRINUSE, if it cannot listen
 */
export async function startBroker({ logger, engines, ...options }: BrokerOptions = {}): Promise<Broker> {
  const settings = settingsOf(options)
  const log = logger ?? defaultLogger(settings.logLevel)
  if (settings.engine === 'level' && !(await exists(settings.dir))) await findPortFree(settings)
  const clock = new WallClock()
  const shard = await Shard.open({ ...settings, engines, clock })
  const broker = new RunningBroker(settings, shard, clock, log)
  try {
    await broker.listen()
  } catch (error) {
    await broker.close()
    throw error
  }
  return broker
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/**
 * Listens for a moment, to detect a port in use before the broker creates its folder.
 * @throws the error of the system, such as EADDRINUSE
 */
function findPortFree({ host, port }: BrokerSettings): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer((socket) => socket.destroy())
    probe.once('error', reject)
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve()))
  })
}

class RunningBroker implements Broker, BrokerContext {
  readonly settings: BrokerSettings
  readonly shard: Shard
  readonly admission: Admission
  readonly groups: Groups
  readonly queues: Queues
  readonly replies: Replies
  readonly later: Later
  readonly server: Server
  readonly longPolls = new LongPolls()
  readonly fetchTurns = new TurnBudget(fetchBytesPerTurnMax)
  readonly retention: Retention
  readonly backups: Backups
  readonly metrics: Metrics
  readonly logger: Logger
  readonly clock: WallClock
  readonly startedAtMs = Date.now()
  readonly #producersLimit: ProducersLimit
  #draining = false
  #closing: Promise<void> | undefined

  constructor(settings: BrokerSettings, shard: Shard, clock: WallClock, logger: Logger) {
    this.settings = settings
    this.shard = shard
    this.clock = clock
    this.logger = logger
    this.replies = new Replies(settings)
    this.metrics = new Metrics(() => shard.store.stats.commits)
    const { timestampAheadMsMax } = settings
    this.admission = new Admission({ clock, timestampAheadMsMax, producers: shard.producers })
    this.groups = groupsOf(shard, settings, clock, logger, (partition, timeMs) =>
      offsetForTime(shard, partition, timeMs),
    )
    this.queues = queuesOf(shard, this.admission, clock, logger, settings, (name) => this.groups.has(name))
    const { admission, metrics } = this
    this.later = new Later({ shard, clock: new WallClock(), admission, logger, metrics, settings })
    this.retention = new Retention(shard, clock, logger, settings.retentionIntervalMs)
    this.#producersLimit = new ProducersLimit(shard, logger)
    this.backups = new Backups(shard)
    const connectionsMax = connectionsAllowed(settings.connectionsMax, descriptorsMaxOfProcess())
    if (connectionsMax < settings.connectionsMax)
      logger.warn(
        { connectionsMax, wanted: settings.connectionsMax },
        'the limit for open files (ulimit -n) allows fewer connections than connectionsMax',
      )
    this.server = new Server({
      settings: { ...settings, connectionsMax },
      handle: (session, frame) => dispatch(this, session, frame),
      failed: (session, command, error) =>
        logger.error({ err: error, command, address: session.address }, 'a request failed unexpectedly'),
      refused: (count) =>
        logger.warn({ count, connectionsMax }, 'the broker refused connections: it has the maximum number'),
      acceptFailed: (error) => logger.error({ err: error }, 'the broker could not accept a connection'),
    })
    shard.store.events.on('health', (health) => {
      if (health.status === 'ok') logger.info('storage is healthy')
      else logger.error({ status: health.status, reasons: health.reasons }, 'storage is unhealthy')
    })
  }

  get draining(): boolean {
    return this.#draining
  }

  get address(): { readonly host: string; readonly port: number } {
    return { host: this.settings.host, port: this.server.port }
  }

  async listen(): Promise<void> {
    await this.server.listen()
    this.later.start()
    const { catalog, health, bootCount } = this.shard
    const { host, port } = this.address
    const opened = { topics: catalog.topicCount, partitions: catalog.partitionCount, starts: bootCount }
    this.logger.info({ host, port, ...opened }, 'the broker is ready')
    for (const notice of this.shard.store.notices) this.logger.warn(notice)
    if (health.status !== 'ok') this.logger.error({ reasons: health.reasons }, 'storage is unhealthy')
  }

  status(): Promise<BrokerStatus> {
    return brokerStatus(this)
  }

  close(): Promise<void> {
    this.#draining = true
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.logger.info({ connections: this.server.connections }, 'the broker is shutting down')
    this.groups.drain()
    this.queues.drain()
    this.replies.drain()
    this.longPolls.drain()
    await this.server.drain(this.settings.drainTimeoutMs)
    this.queues.close()
    await this.later.close()
    await this.retention.close()
    await this.#producersLimit.close()
    await this.backups.close()
    this.metrics.close()
    await this.shard.close()
    this.logger.info('the broker is closed')
  }
}
