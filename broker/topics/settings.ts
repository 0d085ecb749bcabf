import {
  bytesText,
  durationText,
  MillraceError,
  type TopicSettings,
  type TopicSettingsInput,
} from '../../protocol/index.js'

const retentionMsMin = 1_000
/** For topics that are older than the setting. */
const dedupeWindowMsDefault = 120_000

/** Time that a topic remembers message ids, ms; 0: not at all. */
export function dedupeWindowMsOf({ dedupeWindowMs = dedupeWindowMsDefault }: TopicSettings): number {
  return dedupeWindowMs
}

/**
 * Merges `input` into the settings `current` of a topic.
 * @throws MillraceError BAD_CONFIG
 */
export function mergeTopicSettings(
  current: TopicSettings,
  input: TopicSettingsInput | undefined,
  batchBytesMax: number,
): TopicSettings {
  const merged: TopicSettings = {
    retentionMs: input?.retentionMs ?? current.retentionMs,
    retentionBytes: input?.retentionBytes ?? current.retentionBytes,
    batchBytesMax: input?.batchBytesMax ?? current.batchBytesMax,
    dedupeWindowMs: input?.dedupeWindowMs ?? dedupeWindowMsOf(current),
  }
  if (merged.retentionMs !== -1 && merged.retentionMs < retentionMsMin) {
    throw badSetting(
      'retentionMs',
      durationText(merged.retentionMs),
      `at least ${durationText(retentionMsMin)}, or -1 to keep records forever`,
    )
  }
  if (merged.retentionBytes !== -1 && merged.retentionBytes < 1) {
    throw badSetting(
      'retentionBytes',
      bytesText(merged.retentionBytes),
      'at least 1 byte, or -1 for no limit',
    )
  }
  if (merged.batchBytesMax > batchBytesMax) {
    throw badSetting(
      'batchBytesMax',
      bytesText(merged.batchBytesMax),
      `at most ${bytesText(batchBytesMax)}, the limit of this broker`,
    )
  }
  return merged
}

function badSetting(name: string, value: string, expected: string): MillraceError {
  return new MillraceError('BAD_CONFIG', `${name} is ${value}, expected ${expected}`)
}
