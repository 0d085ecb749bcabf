import {
  durationText,
  MillraceError,
  type QueueSettings,
  type QueueSettingsInput,
} from '../../protocol/index.js'

const retryMsMax = 366 * 86_400_000

/** Settings of a queue group that sets nothing else. */
export const queueSettingsDefault: QueueSettings = {
  order: 'none',
  attemptsMax: 10,
  retry: { kind: 'exponential', delayMs: 1_000, maxMs: 3_600_000, jitterPercent: 20 },
  ttlMs: 0,
  expired: 'dead-letter',
  priorities: false,
  paused: false,
}

/**
 * Applies changes to settings.
 * @throws MillraceError BAD_CONFIG
 */
export function mergeQueueSettings(
  current: QueueSettings,
  input: QueueSettingsInput | undefined,
): QueueSettings {
  const merged: Record<string, unknown> = { ...current }
  for (const [name, value] of Object.entries(input ?? {})) if (value !== undefined) merged[name] = value
  const settings = merged as unknown as QueueSettings
  const { retry } = settings
  if (retry.kind === 'exponential' && retry.maxMs < retry.delayMs)
    throw bad(
      `the longest retry delay is ${durationText(retry.maxMs)}, expected at least the first delay, ${durationText(retry.delayMs)}`,
    )
  if (Math.max(retry.delayMs, retry.kind === 'exponential' ? retry.maxMs : 0) > retryMsMax)
    throw bad(
      `a retry delay is ${durationText(Math.max(retry.delayMs, retry.maxMs))}, expected at most ${durationText(retryMsMax)}`,
    )
  return settings
}

/**
 * Delay of a message after `attempts` failed attempts.
 * @param random from 0 to 1
 */
export function retryDelayMs({ retry }: QueueSettings, attempts: number, random: number): number {
  const { kind, delayMs, maxMs, jitterPercent } = retry
  const grown = kind === 'fixed' ? delayMs : Math.min(maxMs, delayMs * 2 ** Math.min(attempts - 1, 52))
  return Math.round(grown * (1 - (random * jitterPercent) / 100))
}

function bad(problem: string): MillraceError {
  return new MillraceError('BAD_CONFIG', `the settings of the queue group are not allowed: ${problem}`)
}
