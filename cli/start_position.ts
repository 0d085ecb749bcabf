import { InvalidArgumentError } from 'commander'
import type { StartPosition } from '../client/index.js'

/** Parses `earliest`, `latest`, an offset, or a time in ISO 8601; for commander. */
export function startPosition(text: string): StartPosition {
  if (text === 'earliest' || text === 'latest') return text
  const position = offsetOrTime(text)
  if (position !== undefined) return position
  throw new InvalidArgumentError('expected earliest, latest, an offset, or a time like 2026-01-31T12:00:00Z')
}

/** Parses an offset, or a time in ISO 8601; for commander. */
export function stopPosition(text: string): number | Date {
  const position = offsetOrTime(text)
  if (position !== undefined) return position
  throw new InvalidArgumentError('expected an offset, or a time like 2026-01-31T12:00:00Z')
}

function offsetOrTime(text: string): number | Date | undefined {
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  const time = new Date(text)
  return /^\d{4}-/.test(text) && Number.isFinite(time.getTime()) ? time : undefined
}
