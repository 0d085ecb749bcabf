/** Limits and times of stream groups. */
export interface GroupSettings {
  /** Most groups with members or committed offsets. */
  readonly groupsMax: number
  readonly groupMembersMax: number
  /** Memory for the committed offsets of all groups with their metadata; about 16 bytes for each partition. */
  readonly groupOffsetsBytesMax: number
  /** Time that the first member of an empty group waits for others, so that they start together. */
  readonly groupInitialDelayMs: number
  /** Time to gather joins and leaves before a new assignment. */
  readonly groupRebalanceDelayMs: number
  /**
   * The broker deletes committed offsets of a group without members and commits for as long; -1: never. The time
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
