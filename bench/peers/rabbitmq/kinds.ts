/**
 * "quorum": a Raft log. "classic-1" and "classic-2": the two versions of the storage of a classic queue; the first syncs before
 * it confirms.
 */
export type QueueKind = 'quorum' | 'classic-1' | 'classic-2'
