import { isMillraceError, MillraceError } from '../../../protocol/index.js'
import { connectHello } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding } from '../campaign.js'
import { tryDecoders } from './decoder_target.js'
import { FrameSplitter } from './frame_bytes.js'
import { replyProblem } from './port_storm.js'

/** The effect of a repeated frame of a finding. */
export interface Replay {
  /** The error in the answer of the broker, if any. */
  readonly atPort: Finding | undefined
  /** The error in the behavior of the decoders. */
  readonly atDecoders: Finding | undefined
  /** Whether the broker ended the connection. */
  readonly ended: boolean
}

const answerMs = 5_000

/**
 * Repeats the frame of a finding, for the decoders and over a new greeted connection.
 * @param hex the frame from the evidence of a finding; a shortened one cannot be sent again
 * @throws MillraceError BAD_OPTION if `hex` is not whole hexadecimal bytes
 */
export async function replay(
  address: { readonly host: string; readonly port: number },
  hex: string,
): Promise<Replay> {
  const bytes = Buffer.from(hex, 'hex')
  if (bytes.length * 2 !== hex.length)
    throw new MillraceError('BAD_OPTION', 'the frame is not whole hexadecimal bytes')
  const atDecoders = tryDecoders(bytes, 0, true).finding
  const client = await connectHello(address)
  const splitter = new FrameSplitter()
  const replies: Buffer[] = []
  let ended = false
  client.socket.removeAllListeners('data')
  client.socket.on('data', (chunk) => replies.push(...splitter.push(chunk)))
  client.socket.once('end', () => {
    ended = true
  })
  try {
    client.socket.write(bytes)
    await waitFor('an answer', () => replies.length > 0 || ended, { deadlineMs: answerMs })
  } catch (error) {
    if (isMillraceError(error)) throw error
    return { atPort: { check: 'no-answer', evidence: String(error) }, atDecoders, ended }
  } finally {
    client.destroy()
  }
  const problems = replies.map(replyProblem).filter((problem) => problem !== undefined)
  return { atPort: problems[0], atDecoders, ended }
}
