import type { LatencyFigures } from './latency.js'
import type { Interval, Throughput } from './throughput.js'

/**
 * What an acknowledgement of a publish means: "fsync": it is on the disk; "default": what the system promises as it comes,
 * mostly that it is in the page cache.
 */
export type Durability = 'fsync' | 'default'

/** A system with its settings, as it takes part in the scenarios that compare: Millrace, the pipe, or a peer. */
export interface Contender {
  /** How the command line and the reports call it: "redis", "redis-fsync". */
  readonly id: string
  /** "Redis Streams". */
  readonly system: string
  readonly durability: Durability
  /** One line for each setting that was chosen, with the reason or the page that advises it. */
  readonly settings: readonly string[]
  /** What it can do: a running one has a method for each. */
  readonly kinds: readonly WorkKind[]
  /** What keeps it from running here; undefined when nothing does. */
  missing(): Promise<Missing | undefined>
  /** Versions of the server, of the clients and of what they run on. */
  versions(): Promise<Readonly<Record<string, string>>>
  /**
   * Starts the server on a free port of loopback with an empty folder below `dataRoot`, and waits until it serves.
   * @throws Error when it doesn't start; nothing is left behind then
   */
  start(dataRoot: string): Promise<RunningContender>
}

export interface Missing {
  /** "redis-server is not installed". */
  readonly reason: string
  /** The command that installs it: "apt-get install redis-server". */
  readonly install: string
}

/** The kinds of work that are compared. Each uses a new topic (stream, queue), and clients in processes of their own. */
export interface Works {
  /** One publisher at full speed and nobody who consumes; counts what is acknowledged. */
  publish(work: ThroughputWork): Promise<Throughput>
  /** One publisher at full speed, and one consumer that acknowledges; counts what is received. */
  endToEnd(work: ThroughputWork): Promise<Throughput>
  /** One publisher at a fixed rate and one consumer, from the intended time of publishing to receipt. */
  latency(work: LatencyWork): Promise<LatencyFigures>
  /** One worker of a work queue that was filled before; counts what it acknowledges, each message by itself. */
  work(work: WorkQueueWork): Promise<Throughput>
  /** Messages for later: how long it takes to arm them, and how late others come that are due meanwhile. */
  delayed(work: DelayWork): Promise<Delayed>
}

export type WorkKind = keyof Works

/** A started server, with a method for each of the kinds of work of its contender. */
export interface RunningContender extends Partial<Works> {
  /** The processes of the server, for its memory, its time and the bytes that it writes. */
  readonly pids: readonly number[]
  /** Ends all processes, waits until they are gone and removes the folder. */
  stop(): Promise<void>
}

export interface ThroughputWork extends Interval {
  readonly messageBytes: number
}

/** One publisher at a fixed rate and one consumer; counted from the time at which a message should have been sent. */
export interface LatencyWork extends Interval {
  readonly messageBytes: number
  readonly messagesPerS: number
}

export interface WorkQueueWork extends Interval {
  readonly messageBytes: number
  /** Messages that the worker may handle at a time. */
  readonly concurrency: number
}

export interface DelayWork {
  readonly messageBytes: number
  /** Messages that are armed for tomorrow first; those that need minutes for them may arm fewer. */
  readonly armed: number
  /** Messages that are armed then and come in the meantime, at this rate. */
  readonly fired: number
  readonly firedPerS: number
}

export interface DelayFigures {
  /** How many were armed for tomorrow. */
  readonly armed: number
  /** How long that took. */
  readonly armMs: number
  /** From the due time to receipt. */
  readonly late: LatencyFigures
  /** Of those that were fired, from the first receipt to the last. */
  readonly receivedPerS: number
}

export interface Delayed extends DelayFigures {
  /** Resident memory of the server at the end. */
  readonly serverRssBytes: number
}
