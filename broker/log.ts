import { type Logger, pino } from 'pino'

export type { Logger }

/** The default log of a broker: JSON lines on stderr. */
export function defaultLogger(level: string): Logger {
  return pino({ name: 'millrace', level }, pino.destination({ dest: 2, sync: true }))
}
