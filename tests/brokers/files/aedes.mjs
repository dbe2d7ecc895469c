// Aedes as a program: node broker.mjs SETTINGS
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const options = {}
if (settings.access) {
  options.authenticate = (client, user, password, done) => {
    client.user = user
    done(null, ['agent', 'reader'].includes(user) && String(password) === settings.password)
  }
  options.authorizePublish = (client, packet, done) => {
    const allowed = !client || client.user === 'agent' || packet.topic.startsWith('clients/')
    done(allowed ? null : new Error('not allowed'))
  }
}
const broker = await Aedes.createBroker(options)
createServer(broker.handle).listen(settings.port, settings.host)
process.on('SIGTERM', () => process.exit(0))
