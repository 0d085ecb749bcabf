import type { commands, ReplyOf, RequestOf } from '../../protocol/index.js'

export type JoinRequest = RequestOf<typeof commands.groupJoin>
export type HeartbeatRequest = RequestOf<typeof commands.groupHeartbeat>
export type CommitRequest = RequestOf<typeof commands.groupCommit>
export type SeekRequest = RequestOf<typeof commands.groupSeek>
export type Assignment = ReplyOf<typeof commands.groupHeartbeat>
export type CommitReply = ReplyOf<typeof commands.groupCommit>
export type SeekReply = ReplyOf<typeof commands.groupSeek>
export type GroupListReply = ReplyOf<typeof commands.groupList>
export type GroupDescription = ReplyOf<typeof commands.groupDescribe>
/** [topicId, partition, epoch] of a partition in a member's list. */
export type OwnedEntry = HeartbeatRequest['owned'][number]

/** The connection of a member. */
export interface MemberSession {
  /** Increases with each connection. */
  readonly id: number
  readonly clientName: string
  readonly address: string
  /** Calls back once, when the connection has ended. */
  onClose(callback: () => void): void
  /** Whether the client of this connection has opened another one in its place. */
  readonly isReplaced?: boolean
}

/** A topic as groups see it. */
export interface GroupTopic {
  readonly topicId: number
  readonly name: string
  readonly partitions: number
}

/** The topics that members can subscribe to. */
export interface TopicSource {
  byName(name: string): GroupTopic | undefined
  byId(topicId: number): GroupTopic | undefined
}
