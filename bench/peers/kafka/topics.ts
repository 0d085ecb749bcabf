import { Admin } from '@platformatic/kafka'

/** As many as Millrace's topics have in the bench. */
export const partitions = 8

/** Makes a topic unless it exists. */
export function ensureTopic(port: number, topic: string): Promise<void> {
  return withAdmin(port, async (admin) => {
    if (!(await admin.listTopics()).includes(topic))
      await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
  })
}

export function removeTopic(port: number, topic: string): Promise<void> {
  return withAdmin(port, (admin) => admin.deleteTopics({ topics: [topic] }))
}

async function withAdmin(port: number, use: (admin: Admin) => Promise<void>): Promise<void> {
  const admin = new Admin({ clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${port}`] })
  try {
    await use(admin)
  } finally {
    await admin.close()
  }
}
