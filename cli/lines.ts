import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { bytesText, limits, MillraceError } from '../protocol/index.js'

/** Larger than the message limit of any broker; limits the memory for input without line ends. */
const lineBytesMax = limits.frameBytesMax
const newline = 0x0a
const carriageReturn = 0x0d

/** The bytes of a file, of stdin for `-`; files that end in `.gz` are decompressed. */
export function openInput(file: string): AsyncIterable<Uint8Array> {
  if (file === '-') return process.stdin
  const stream = createReadStream(file)
  if (!file.endsWith('.gz')) return stream
  const unpacked = createGunzip()
  stream.on('error', (error) => unpacked.destroy(error))
  return stream.pipe(unpacked)
}

/**
 * Splits bytes into lines, without their line ends (LF or CR LF); the last line needs no line end.
 * @param bytesMax largest line, default 16 MiB
 * @throws MillraceError VALUE_TOO_LARGE for a larger line
 */
export async function* lines(
  input: AsyncIterable<Uint8Array>,
  bytesMax: number = lineBytesMax,
): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let restBytes = 0
  let count = 0
  for await (const chunk of input) {
    let from = 0
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    for (let end = buffer.indexOf(newline); end >= 0; end = buffer.indexOf(newline, from)) {
      yield withoutReturn(joined(rest, buffer.subarray(from, end)))
      rest = []
      restBytes = 0
      count++
      from = end + 1
    }
    if (from === buffer.length) continue
    rest.push(buffer.subarray(from))
    restBytes += buffer.length - from
    if (restBytes > bytesMax) {
      throw new MillraceError('VALUE_TOO_LARGE', `line ${count + 1} has more than ${bytesText(bytesMax)}`)
    }
  }
  if (rest.length > 0) yield withoutReturn(Buffer.concat(rest))
}

function joined(rest: readonly Buffer[], last: Buffer): Buffer {
  return rest.length === 0 ? last : Buffer.concat([...rest, last])
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === carriageReturn ? line.subarray(0, -1) : line
}
