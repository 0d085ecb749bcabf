import { InvalidArgumentError } from 'commander'
import type { StartPosition } from '../client/index.js'

/** Reads `earliest`, `latest`, an offset, or a time as ISO 8601; for commander. */
export function startPosition(text: string): StartPosition {
  if (text === 'earliest' || text === 'latest') return text
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  const time = new Date(text)
  if (/^\d{4}-/.test(text) && Number.isFinite(time.getTime())) return time
  throw new InvalidArgumentError('expected earliest, latest, an offset, or a time like 2026-01-31T12:00:00Z')
}
