import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from '../../helpers/context.js'
import { FrameSplitter } from './frame_bytes.js'

/** Handles a frame in a relay: returns the bytes to pass on, none to drop it. */
export type FrameTap = (frame: Buffer) => readonly Uint8Array[]

export interface FrameRelayOptions {
  readonly targetPort: number
  /** Called for each connection: handlers for the frames of the client, and for those of the broker. */
  readonly taps: () => { readonly fromClient: FrameTap; readonly fromBroker: FrameTap }
}

/** A relay between clients and a broker that sees, and may change, whole frames of both directions. */
export class FrameRelay {
  readonly port: number
  readonly #server: Server
  readonly #options: FrameRelayOptions
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server, port: number, options: FrameRelayOptions) {
    this.#server = server
    this.port = port
    this.#options = options
    server.on('connection', (socket) => this.#relay(socket))
  }

  static async start(context: TestContext, options: FrameRelayOptions): Promise<FrameRelay> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const relay = new FrameRelay(server, port, options)
    context.defer(() => relay.close())
    return relay
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #relay(client: Socket): void {
    const broker = connect(this.#options.targetPort, '127.0.0.1')
    const { fromClient, fromBroker } = this.#options.taps()
    for (const [from, to, tap] of [
      [client, broker, fromClient],
      [broker, client, fromBroker],
    ] as const) {
      const splitter = new FrameSplitter()
      this.#sockets.add(from)
      from.setNoDelay(true)
      from.on('data', (chunk) => {
        for (const frame of splitter.push(chunk)) for (const bytes of tap(frame)) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
  }
}
