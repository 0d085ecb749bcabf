import { isMillraceError, MillraceError } from '../../../protocol/index.js'
import { connectHello } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding } from '../campaign.js'
import { tryDecoders } from './decoder_target.js'
import { FrameSplitter } from './frame_bytes.js'
import { replyProblem } from './port_storm.js'

/** What a frame of a finding does when it is sent again. */
export interface Replay {
  /** What is wrong with the answer of the broker, if anything. */
  readonly atPort: Finding | undefined
  /** What is wrong with what the decoders do with it. */
  readonly atDecoders: Finding | undefined
  /** Whether the broker ended the connection. */
  readonly ended: boolean
}

const answerMs = 5_000

/**
 * Sends the frame of a finding again, to the decoders and over a fresh greeted connection.
 * @param hex the frame as the evidence of a finding shows it; one that was cut there can't be sent again
 * @throws MillraceError BAD_OPTION when `hex` is not whole hexadecimal bytes
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
