import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from './suite.js'

/**
 * A relay in front of a broker that can forget the connections it has, as firewalls and address translators do: nothing
 * passes on them any more, and neither end hears of it. New ones work.
 */
export interface ForgetfulRelay {
  readonly port: number
  /** Forgets the connections that are open. */
  forget(): void
  /** Loses what the broker says on the connections that are open, but not what it is told. */
  loseReplies(): void
  /** Holds back what the broker says on the connections that are open, until the returned function is called. */
  holdReplies(): () => void
  /** Ends the connections that are open. */
  cut(): void
}

export async function startForgetfulRelay(context: TestContext, targetPort: number): Promise<ForgetfulRelay> {
  const sockets = new Set<Socket>()
  const upstreams = new Set<Socket>()
  const forgotten = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    upstreams.add(upstream)
    relay(client, upstream)
    relay(upstream, client)
  })
  const relay = (from: Socket, to: Socket): void => {
    sockets.add(from)
    // What comes on a forgotten connection is read and lost, as if it had never arrived.
    from.on('data', (bytes) => void (forgotten.has(from) || to.write(bytes)))
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      upstreams.delete(from)
      if (!forgotten.delete(from)) to.destroy()
    })
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.defer(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => void server.close(() => resolve()))
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    forget: () => {
      for (const socket of sockets) forgotten.add(socket)
    },
    loseReplies: () => {
      for (const socket of upstreams) forgotten.add(socket)
    },
    holdReplies: () => {
      const held = [...upstreams]
      for (const socket of held) socket.pause()
      return () => {
        for (const socket of held) socket.resume()
      }
    },
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}
