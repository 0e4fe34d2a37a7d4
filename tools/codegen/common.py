"""What the generators share."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def write(path, text):
    """Writes the file unless it already has this content."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    try:
        with open(path) as f:
            if f.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, 'w') as f:
        f.write(text)


def camel(name):
    return ''.join(part.capitalize() for part in name.split('_'))
