import type { DelayWork, Durability } from '../../lib/contender.js'

/** What every worker of a peer is told. */
export interface PeerWorkerOptions {
  /** Of the server, on 127.0.0.1. */
  readonly port: number
  /** A new one for each kind of work; whoever needs it first makes it. */
  readonly topic: string
  readonly messageBytes: number
  readonly durability: Durability
  /** Which of a peer's kinds of topics, where it has several: "quorum". */
  readonly topicKind?: string
  /** Whether this worker removes the topic at its end, so that the server needs no more memory and disk than for one. */
  readonly removesTopic: boolean
}

export interface PeerPublisherOptions extends PeerWorkerOptions {
  /**
   * "bulk": as fast as it goes; "rate": `messagesPerS` times a second, each value beginning with its intended time as a
   * double, little-endian.
   */
  readonly mode: 'bulk' | 'rate'
  readonly messagesPerS?: number
}

export interface PeerConsumerOptions extends PeerWorkerOptions {
  /** Measures latencies from the intended time at the beginning of every value; `stop` resolves to them. */
  readonly latency: boolean
  /** Latencies are not counted for this long after the first message. */
  readonly warmUpMs: number
}

export interface PeerQueueWorkerOptions extends PeerWorkerOptions {
  /** Messages that may be handled at a time. */
  readonly concurrency: number
  /** Whether an acknowledgement is confirmed before it is counted, where the protocol can do that. */
  readonly isConfirmed: boolean
}

export interface PeerDelayerOptions extends PeerWorkerOptions, DelayWork {}
