import { decodeBody, encodeBody } from '../../protocol/index.js'
import type { OffsetEntry } from './committed_offsets.js'

/** Payload of an `offsets.committed` operation; on disk. */
export interface OffsetsCommitted {
  readonly group: string
  readonly committedAtMs: number
  readonly entries: readonly OffsetEntry[]
}

export function encodeOffsetsCommitted({ group, committedAtMs, entries }: OffsetsCommitted): Uint8Array {
  return encodeBody([group, committedAtMs, entries])
}

export function decodeOffsetsCommitted(payload: Uint8Array): OffsetsCommitted {
  const [group, committedAtMs, entries] = decodeBody(payload) as [string, number, OffsetEntry[]]
  return {
    group,
    committedAtMs,
    entries: entries.map(([topicId, partition, offset, metadata]) => [
      topicId,
      partition,
      offset,
      metadata ?? undefined,
    ]),
  }
}

/** Payload of a `group.paused` operation; on disk. */
export function encodeGroupPaused(group: string, paused: boolean): Uint8Array {
  return encodeBody([group, paused])
}

export function decodeGroupPaused(payload: Uint8Array): readonly [group: string, paused: boolean] {
  return decodeBody(payload) as [string, boolean]
}

/** Payload of a `group.deleted` operation; on disk. */
export function encodeGroupDeleted(group: string): Uint8Array {
  return encodeBody([group])
}

export function decodeGroupDeleted(payload: Uint8Array): string {
  const [group] = decodeBody(payload) as [string]
  return group
}
