/** Limits and times of stream groups. */
export interface GroupSettings {
  /** Groups that have members or committed offsets. */
  readonly groupsMax: number
  readonly groupMembersMax: number
  /** Memory for the committed offsets of all groups with their metadata; about 16 bytes a partition. */
  readonly groupOffsetsBytesMax: number
  /** How long the first member of an empty group waits for others, so that they start together. */
  readonly groupInitialDelayMs: number
  /** How long joins and leaves are gathered before partitions are assigned anew. */
  readonly groupRebalanceDelayMs: number
  /**
   * Committed offsets of a group that had no members and no commits for as long are forgotten; -1: never. The time
   * without members starts again when the broker does.
   */
  readonly groupOffsetsRetentionMs: number
}

export const groupSettingsDefault: GroupSettings = {
  groupsMax: 10_000,
  groupMembersMax: 1_000,
  groupOffsetsBytesMax: 64 * 1024 * 1024,
  groupInitialDelayMs: 50,
  groupRebalanceDelayMs: 5,
  groupOffsetsRetentionMs: -1,
}
