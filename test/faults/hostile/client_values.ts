import { crc32 } from 'node:zlib'

/** The topic that clients under attack publish to and read. */
export const attackedTopic = 'client-values'

/** A value that shows whether it was published. */
export function checkedValue(token: string, number: number): string {
  const text = `${token}:${number}`
  return `${text}:${crc32(text)}`
}

/** Whether `checkedValue` made this value under this token. */
export function isCheckedValue(token: string, value: string): boolean {
  const [from = '', number = ''] = value.split(':')
  return from === token && value === checkedValue(token, Number(number))
}
