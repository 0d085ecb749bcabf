import type { Command } from '../../protocol/index.js'

/** A topic in the metadata cache. */
export interface TopicInfo {
  readonly name: string
  readonly topicId: number
  readonly partitions: number
}

export interface PortRequestOptions {
  /** ms; the client's default if absent. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** The functions that a consumer needs from the client: requests over its lanes, and metadata. */
export interface BrokerPort {
  /** A request about groups, on the connection of heartbeats. */
  control<Request, Reply>(
    command: Command<Request, Reply>,
    body: Request,
    options?: PortRequestOptions,
  ): Promise<Reply>
  /** A request about partitions, to the broker `owner`; on a separate connection. */
  toOwner<Request, Reply>(
    owner: number,
    command: Command<Request, Reply>,
    body: Request,
    options?: PortRequestOptions,
  ): Promise<{ readonly body: Reply; readonly payload: Uint8Array }>
  /** The known owner of a partition. */
  ownerOf(topic: string, partition: number): number
  /** The metadata of a topic, requested if it is unknown, or if `fresh`. Throws UNKNOWN_TOPIC. */
  topic(
    name: string,
    options?: { readonly fresh?: boolean; readonly signal?: AbortSignal },
  ): Promise<TopicInfo>
  /** The limits of the broker. */
  readonly limits: {
    readonly fetchWaitMsMax: number
    readonly frameBytesMax: number
    readonly sessionTimeoutMsMin: number
    readonly sessionTimeoutMsMax: number
  }
}
