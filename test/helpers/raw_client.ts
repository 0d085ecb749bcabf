import { connect as connectSocket, type Socket } from 'node:net'
import {
  type Command,
  commands,
  decodeBody,
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameFlags,
  MillraceError,
  protocolVersion,
  protocolVersionMin,
  type ReplyOf,
  type RequestOf,
  readErrorBody,
} from '../../protocol/index.js'

export interface RawReply<Body> {
  readonly body: Body
  readonly payload: Uint8Array
}

interface Pending {
  readonly resolve: (frame: Frame) => void
  readonly reject: (error: Error) => void
}

/**
 * A connection to a broker with the wire protocol alone: no retries, no reconnects. Requests may overlap; each resolves
 * with its reply, or rejects with the MillraceError of the broker or CONNECTION_LOST.
 */
export class RawClient {
  readonly socket: Socket
  /** Resolves when the socket is closed, by either end. */
  readonly closed: Promise<void>
  readonly #decoder = new FrameDecoder()
  readonly #pending = new Map<number, Pending>()
  #correlation = 0

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => undefined)
    socket.once('close', () => {
      for (const { reject } of this.#pending.values()) reject(new MillraceError('CONNECTION_LOST'))
      this.#pending.clear()
    })
  }

  /** Sends a request and resolves with its reply, checked against the command's shape. */
  async request<C extends Command<unknown, unknown>>(
    command: C,
    body: RequestOf<C>,
    payload: Uint8Array = new Uint8Array(0),
  ): Promise<RawReply<ReplyOf<C>>> {
    if (this.socket.destroyed) throw new MillraceError('CONNECTION_LOST')
    const correlation = ++this.#correlation
    const replied = new Promise<Frame>((resolve, reject) =>
      this.#pending.set(correlation, { resolve, reject }),
    )
    const head = encodeFrame(command.number, 0, correlation, body, payload.length)
    this.socket.write(payload.length === 0 ? head : Buffer.concat([head, payload]))
    const frame = await replied
    const decoded = decodeBody(frame.body)
    if ((frame.flags & frameFlags.error) !== 0) throw readErrorBody(decoded)
    return { body: command.reply.read(decoded, '') as ReplyOf<C>, payload: frame.payload }
  }

  /** Ends the connection like a crash. */
  destroy(): void {
    this.socket.destroy()
  }

  #receive(chunk: Buffer): void {
    for (const frame of this.#decoder.push(chunk)) {
      const pending = this.#pending.get(frame.correlation)
      this.#pending.delete(frame.correlation)
      pending?.resolve(frame)
    }
  }
}

/** Connects, without hello. */
export function connectRaw(address: { readonly host: string; readonly port: number }): Promise<RawClient> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket(address.port, address.host)
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(new RawClient(socket))
    })
  })
}

/**
 * Connects and sends hello.
 * @param idleMsMax the connection is destroyed after this time without a byte in either direction; default never
 * @param connection the field of `hello`
 */
export async function connectHello(
  address: { readonly host: string; readonly port: number },
  {
    idleMsMax = 0,
    connection,
  }: {
    readonly idleMsMax?: number
    readonly connection?: RequestOf<typeof commands.hello>['connection']
  } = {},
): Promise<RawClient> {
  const client = await connectRaw(address)
  client.socket.setTimeout(idleMsMax, () => client.destroy())
  await client.request(commands.hello, {
    versionMin: protocolVersionMin,
    versionMax: protocolVersion,
    clientName: 'raw',
    clientVersion: '0',
    ...(connection === undefined ? {} : { connection }),
  })
  return client
}
