import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from './suite.js'

/** A relay in front of a broker, whose connections a test can cut or hold up. */
export class TcpProxy {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #targetPort: () => number
  #refusing = false

  private constructor(server: Server, targetPort: () => number) {
    this.#server = server
    this.#targetPort = targetPort
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
    server.on('connection', (socket) => this.#relay(socket))
  }

  /** @param targetPort asked at every connection, so that the target may be started anew */
  static async start(context: TestContext, targetPort: () => number): Promise<TcpProxy> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const proxy = new TcpProxy(server, targetPort)
    context.defer(() => proxy.close())
    return proxy
  }

  /** Ends all connections at once, without goodbye. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Ends all connections and every new one, until `accept`. */
  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  accept(): void {
    this.#refusing = false
  }

  /** Relays nothing any more, but keeps the connections open: a machine that hangs. */
  freeze(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  thaw(): void {
    for (const socket of this.#sockets) socket.resume()
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #relay(client: Socket): void {
    if (this.#refusing) {
      client.destroy()
      return
    }
    const upstream = connect(this.#targetPort(), '127.0.0.1')
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(from)
      from.setNoDelay(true)
      from.on('data', (chunk) => to.write(chunk))
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
  }
}
