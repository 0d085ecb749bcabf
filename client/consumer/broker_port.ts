import type { Command } from '../../protocol/index.js'

/** A topic as the metadata cache knows it. */
export interface TopicInfo {
  readonly name: string
  readonly topicId: number
  readonly partitions: number
}

export interface PortRequestOptions {
  /** ms; the client's default when absent. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** What a consumer needs of the client: requests over its lanes, and metadata. */
export interface BrokerPort {
  /** A request about groups; on the connection that heartbeats use. */
  control<Request, Reply>(
    command: Command<Request, Reply>,
    body: Request,
    options?: PortRequestOptions,
  ): Promise<Reply>
  /** A request about partitions, to the broker `owner`; on a connection of its own. */
  toOwner<Request, Reply>(
    owner: number,
    command: Command<Request, Reply>,
    body: Request,
    options?: PortRequestOptions,
  ): Promise<{ readonly body: Reply; readonly payload: Uint8Array }>
  /** The broker that owns a partition, as far as known. */
  ownerOf(topic: string, partition: number): number
  /** What is known of a topic, asked for when it is not, or when `fresh`. Throws UNKNOWN_TOPIC. */
  topic(
    name: string,
    options?: { readonly fresh?: boolean; readonly signal?: AbortSignal },
  ): Promise<TopicInfo>
  /** What the broker allows. */
  readonly limits: {
    readonly fetchWaitMsMax: number
    readonly frameBytesMax: number
    readonly sessionTimeoutMsMin: number
    readonly sessionTimeoutMsMax: number
  }
}
