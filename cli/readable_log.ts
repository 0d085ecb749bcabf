const levelNames: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}
const shownElsewhere = new Set(['level', 'time', 'pid', 'hostname', 'name', 'msg', 'err'])

/** Converts JSON lines of pino to readable lines: time, level, message, fields. */
export function readableLines(target: NodeJS.WritableStream): { write(line: string): void } {
  return {
    write(line) {
      target.write(readableLine(line))
    },
  }
}

/** Formats one line of pino; returns any other line unchanged. */
export function readableLine(line: string): string {
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line) as Record<string, unknown>
  } catch {
    return line
  }
  const time = new Date(Number(entry.time)).toISOString().slice(11, 23)
  const level = (levelNames[Number(entry.level)] ?? String(entry.level)).padEnd(5)
  const fields = Object.entries(entry)
    .filter(([name]) => !shownElsewhere.has(name))
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const error = entry.err as { stack?: string; message?: string } | undefined
  const trace = error === undefined ? '' : `\n${error.stack ?? error.message ?? ''}`
  return `${time} ${level} ${String(entry.msg ?? '')}${fields.join('')}${trace}\n`
}
