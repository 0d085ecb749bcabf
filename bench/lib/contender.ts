import type { LatencyFigures } from './latency.js'
import type { Interval, Throughput } from './throughput.js'

/**
 * The meaning of a publish acknowledgement: "fsync": on the disk; "default": the default of the system,
 * usually in the page cache.
 */
export type Durability = 'fsync' | 'default'

/** A system with its settings in the comparing scenarios: Millrace, the pipe, or a peer. */
export interface Contender {
  /** Its name on the command line and in the reports: "redis", "redis-fsync". */
  readonly id: string
  /** "Redis Streams". */
  readonly system: string
  readonly durability: Durability
  /** One line for each chosen setting, with the reason or the page that recommends it. */
  readonly settings: readonly string[]
  /** The supported kinds of work: a running contender has a method for each. */
  readonly kinds: readonly WorkKind[]
  /** The reason why it cannot run here; undefined if it can. */
  missing(): Promise<Missing | undefined>
  /** Versions of the server, of the clients and of their runtimes. */
  versions(): Promise<Readonly<Record<string, string>>>
  /**
   * Starts the server on a free port of loopback with an empty folder below `dataRoot`, and waits until it serves.
   * @throws Error if it does not start; nothing is left behind then
   */
  start(dataRoot: string): Promise<RunningContender>
}

export interface Missing {
  /** "redis-server is not installed". */
  readonly reason: string
  /** The command that installs it: "apt-get install redis-server". */
  readonly install: string
}

/** The compared kinds of work. Each uses a new topic (stream, queue), and clients in processes of their own. */
export interface Works {
  /** One publisher at full speed without consumers; counts acknowledged messages. */
  publish(work: ThroughputWork): Promise<Throughput>
  /** One publisher at full speed, and one consumer that acknowledges; counts received messages. */
  endToEnd(work: ThroughputWork): Promise<Throughput>
  /** One publisher at a fixed rate and one consumer, from the intended time of publishing to receipt. */
  latency(work: LatencyWork): Promise<LatencyFigures>
  /** One worker of a work queue that was filled before; counts its acknowledgements, each for a single message. */
  work(work: WorkQueueWork): Promise<Throughput>
  /** Delayed messages: the time to schedule them, and the lateness of others that are due in the same time. */
  delayed(work: DelayWork): Promise<Delayed>
}

export type WorkKind = keyof Works

/** A started server, with a method for each kind of work of its contender. */
export interface RunningContender extends Partial<Works> {
  /** The processes of the server, for its memory, processor time and written bytes. */
  readonly pids: readonly number[]
  /** Ends all processes, waits until they are gone and removes the folder. */
  stop(): Promise<void>
}

export interface ThroughputWork extends Interval {
  readonly messageBytes: number
}

/** One publisher at a fixed rate and one consumer; latency counts from the intended time of sending. */
export interface LatencyWork extends Interval {
  readonly messageBytes: number
  readonly messagesPerS: number
}

export interface WorkQueueWork extends Interval {
  readonly messageBytes: number
  /** Concurrency of the worker. */
  readonly concurrency: number
}

export interface DelayWork {
  readonly messageBytes: number
  /** Messages that are scheduled for tomorrow first; a contender that needs minutes may schedule fewer. */
  readonly armed: number
  /** Messages that are scheduled then and become due at this rate. */
  readonly fired: number
  readonly firedPerS: number
}

export interface DelayFigures {
  /** Number of messages scheduled for tomorrow. */
  readonly armed: number
  /** Duration of their scheduling. */
  readonly armMs: number
  /** From the due time to receipt. */
  readonly late: LatencyFigures
  /** Rate of the fired messages, from the first receipt to the last. */
  readonly receivedPerS: number
}

export interface Delayed extends DelayFigures {
  /** Resident memory of the server at the end. */
  readonly serverRssBytes: number
}
