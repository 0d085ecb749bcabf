import { type Logger, pino } from 'pino'

export type { Logger }

/** The log that the broker writes when it is given none: JSON lines on stderr. */
export function defaultLogger(level: string): Logger {
  return pino({ name: 'millrace', level }, pino.destination({ dest: 2, sync: true }))
}
